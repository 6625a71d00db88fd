/** Holds the one state of this tab and tells React when it changes. */

import { useSyncExternalStore } from "react";
import { initialState, type State } from "./state";

export class Store {
  private state: State = initialState;
  private listeners = new Set<() => void>();

  get = (): State => this.state;

  update(change: (state: State) => State): void {
    const next = change(this.state);
    if (next === this.state) return;
    this.state = next;
    for (const listener of this.listeners) listener();
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

export const useStore = (store: Store): State => useSyncExternalStore(store.subscribe, store.get);

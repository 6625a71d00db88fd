/** Tries something for a form, and keeps the reason when it fails. */

import { useState } from "react";
import { reasonOf } from "../api/errors";

type Attempt = (work: () => Promise<unknown>) => Promise<void>;

export function useAttempt(): { problem: string; attempt: Attempt } {
  const [problem, setProblem] = useState("");
  async function attempt(work: () => Promise<unknown>) {
    setProblem("");
    try {
      await work();
    } catch (error) {
      setProblem(reasonOf(error));
    }
  }
  return { problem, attempt };
}

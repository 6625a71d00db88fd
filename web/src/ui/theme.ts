/** Light, dark, or as the system has it. */

export type Theme = "system" | "light" | "dark";

const KEY = "parley.theme";

export const chosenTheme = (): Theme => (localStorage.getItem(KEY) as Theme | null) ?? "system";

export function chooseTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  applyTheme();
}

/** Puts the choice on the page. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = chosenTheme();
}

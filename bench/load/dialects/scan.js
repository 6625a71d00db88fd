// Finds what the load generator needs in a frame without parsing all of it.

// The decimal number that begins at `start`.
export function numberAfter(text, start) {
  let number = 0;
  for (let at = start; ; at++) {
    const digit = text.charCodeAt(at) - 48;
    if (!(digit >= 0 && digit <= 9)) return number;
    number = number * 10 + digit;
  }
}

// What people write: the message's number between tildes, by which a delivery is known, and text up to the length.

const TEXT = "the quick brown fox jumps over the lazy dog and then writes home about it, as foxes do in the evening. ";
const FILLER = TEXT.repeat(10);

export function contentOf(id, length) {
  const mark = `~${id}~ `;
  return mark + FILLER.slice(0, length - mark.length);
}

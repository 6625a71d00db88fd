"""What operators do with a store as a whole: move it, keep writes out of it, save it and bring it back."""

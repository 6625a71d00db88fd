"""The MongoDB backend of Django as its makers publish it, but for the order of the stages (`stages`)."""

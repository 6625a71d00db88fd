"""The project: settings, environment, error model and the wiring that knows every app."""

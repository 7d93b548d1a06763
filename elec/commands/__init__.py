"""Commands of the command line that are the library's own; they import what they need when they are called."""

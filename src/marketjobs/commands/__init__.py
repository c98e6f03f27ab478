"""Who asks in a terminal: one file a group of commands, and the rendering they share."""

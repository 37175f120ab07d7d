"""The composition root: settings, routing, processes and embedded servers; nothing below imports it."""

"""Bad input, enumerated: every field of every endpoint, form and command, with every class of bad value.

The schema, the forms and the parsers say what there is, so that something new is covered, or fails until somebody says
what good and bad values of it are. Each bad value gets a 4xx that names the field, and writes nothing.
"""

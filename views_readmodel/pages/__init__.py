"""The staff pages: server-rendered HTML, brought to life by htmx, readable without a script.

A view reads through `views_readmodel.queries`, or has a form call one service; nothing in here decides anything about
money. One module of views per context; templates lie in `templates/`, one folder per context.
"""

"""From one server to another: all that could not be fetched again, by way of a dump.

``exporting`` writes one, ``importing`` makes of one what is not there yet.  Between the two,
``renaming`` gives users and indexes other names, ``plan`` says what is to be done and what
keeps it from being done, and ``placing`` where each file goes.  What a dump is, ``dump`` says.
"""

"""Prefetching: everything that an installation asks for is held before anybody asks.

``sources`` reads what is asked for, from ``requirements`` or ``locks``, into what ``files`` says
a file can ask.  ``plan`` makes of it the files to be held: ``resolve`` asks ``pip`` what a
requirement comes down to, ``choice`` takes the files that ``targets`` need, ``builds`` says what
a source distribution wants.  ``holding`` fetches them.  ``prefetching`` is the whole of it,
``on_request`` the same for somebody over the network; ``jobs`` is what they speak in.
"""

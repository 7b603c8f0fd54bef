"""devpi-server: a caching PyPI proxy and private index.

The layers, lowest first; a module imports only from layers below its own
(``tests/test_layers.py`` holds this):

* ``errors``        the exception tree, free of HTTP and exit codes
* ``names``         project, index and distribution-file names
* ``records``       the values that travel between the layers
* ``option_values``, ``mirror_settings``: what a text in the configuration means; what a
  mirror can be told; ``pypiserver_options``, ``pypiserver_settings``: those of ``pypi-server``
* ``observe``       what happened, as frozen events that logs and metrics hang on
* ``settings``      one table of options: command line, environment, file
* ``concurrency``   single flight, patience, bounded caches; what runs workers
* ``simple``        the simple API on the wire: negotiate, parse, render; pure
* ``store``         what survives a restart: blobs, upstream's pages, held files
* ``upstream``      the way out: client, page cache, file fetcher, feeds of changes
* ``sources``       an index is a value that you can ask ``view(project)``
* ``services``      the use cases: pages, downloads, listings, status
* ``workers``       the background: follow changes, refresh and read ahead
* ``web``           HTTP in: the one importer of bottle
* ``deploy``        folders that run by themselves, configuration for what is around them
* ``wiring``        settings → object graph: the only place that knows every class;
  ``pypiserver_wiring``: the same for ``pypi-server``
* ``cli``           the commands
* ``wsgi``, ``pypiserver``: the applications, for servers that take one
* ``pypicache``     the server, as users of that one know it
"""

__version__ = "6.21.0"

"""Dumps: all that a server has and could not fetch again, as files in a folder.

The format is that of the other devpi-server, which reads and writes it as
"dump version 2": either server can read what the other has written.  ``read``
opens a dump, ``write`` makes one, ``records`` is what they speak in.  Nothing
here knows of a database.

::

    dataindex.json                                  written last: a dump without it is not done
    alice/dev/demo/1.0/demo-1.0.tar.gz              <user>/<index>/<project>/<version>/<file>
    alice/dev/demo/1.0/+/demo-1.0.tar.gz.asc        what came with the file
    alice/dev/demo/1.0/+/demo-1.0.doc.zip           its documentation
    alice/dev/demo/sha256=<of the tested file>/<file>.toxresult-<when>-<number>

No file counts that ``dataindex.json`` does not name, and no reader may guess from where
one lies, but for the results of tox: there the folder says which bytes were tested, and
the file's name is the result's.  ``dataindex.json``::

    {"dumpversion": "2",
     "devpi_server": "6.21.0",                      the version that wrote it
     "pythonversion": [3, 11, 7, "final", 0],
     "users": {"alice": {
         "username": "alice", "pwhash": "$argon2id$…", "created": "2026-11-21T07:04:41Z",
         "modified": …, "email": …, "title": …, "description": …, "custom_data": …}},
     "indexes": {"alice/dev": {
         "indexconfig": {"type": "stage", "bases": ["root/pypi"], "volatile": true, …},
         "projects": {"demo": {"1.0": {"name": "demo", "version": "1.0", "summary": …}}},
         "files": [{
             "type": "releasefile",                 or doczip, toxresult
             "projectname": "demo", "version": "1.0", "relpath": "alice/dev/demo/1.0/…",
             "entrymapping": {
                 "hashes": {"sha256": …}, "hash_spec": "sha256=…",
                 "last_modified": "Sat, 21 Nov 2026 07:04:46 GMT",
                 "url": …},                         of a mirror's file: where it is from
             "for_entrypath": "alice/dev/+f/633/266e047745ba2/demo-1.0.tar.gz",
             "log": [{"what": "upload", "who": "alice", "when": [2026, 11, 21, 7, 4, 46],
                      "dst": "alice/dev"}]}]}}}

A mirror has ``projects`` and ``files`` only where the files that it holds were asked for.

What this server adds to a file, each key only where it says something; the other
server's import passes over them:

* ``yanked``        the reason (PEP 592), which may be empty
* ``uploaded``      the time of the upload to the microsecond, in ISO 8601
* ``signature``     relpath of the OpenPGP signature (PEP 503)
* ``attestations``  relpath of the attestations (PEP 740)

Options of an index that the other server does not know (``acl_read``) it keeps and does
not heed: an index that few may read is open there.  Passwords are there as hashes; API
tokens and login tokens are not: who had one makes a new one.
"""

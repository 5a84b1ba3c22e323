"""The last step of a sub-interpreter's start: makes it find the standard library and the environment's packages.

CPython imports `site` there, and gets this module (guest/stdlib.cpp). It becomes the real `site` at its end, without what that does
in a program of its own.
"""

import sys


def _start():
    import _deploy_image

    def code_of(path):
        return _deploy_image.code(_deploy_image.find(path))

    finder = sys.modules["_deploy.finder"] = type(sys)("_deploy.finder")
    exec(code_of("_deploy/finder.py"), finder.__dict__)
    dynload, paths, first_site = _deploy_image.boot()
    finder.install(dynload)
    from _deploy import startup

    startup.run(paths, first_site, defer_imports=False, is_subinterpreter=True)
    flags, sys.flags = sys.flags, type(sys.implementation)(no_site=1)
    try:
        exec(code_of("site.py"), globals())
    finally:
        sys.flags = flags


_start()
del _start

from versioned_helper import suffix


class Versioned:
    def __call__(self):
        return "b" + suffix()

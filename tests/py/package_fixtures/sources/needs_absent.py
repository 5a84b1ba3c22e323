import absent_one
import absent_two.deep


class NeedsAbsent:
    def __call__(self):
        return absent_one.__name__, absent_two.deep.__name__

"""Runs inside an interpreter of verify: repeats an example call and compares the result with the recorded one, object by object."""

import random
import sys

# Beside deploy it is a part of it. In an interpreter of verify, where deploy is not, each of these is registered by itself.
if __name__.startswith("deploy."):
    from deploy.package import comparison, comparison_arrays, comparison_tables
else:
    import deploy_package_comparison as comparison
    import deploy_package_comparison_arrays as comparison_arrays
    import deploy_package_comparison_tables as comparison_tables


def check(obj, inputs, outputs, method, seed, tolerance, recorded, threads=None):
    """{"differences": [text], "notes": [text], "largest": float, "modules": [name]}; notes say what was not compared. `recorded`
    tells whether there is a result to compare with. `threads`: torch's number of them where it was recorded, which has a part in
    how sums are rounded."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
        if threads:
            sys.modules["torch"].set_num_threads(threads)
    args, kwargs = inputs
    target = obj if method == "__call__" else getattr(obj, method)
    result = target(*args, **kwargs)
    found = comparison.Comparison(tolerance, comparison_tables.KINDS + comparison_arrays.KINDS)
    if recorded:
        found.compare("result", result, outputs)
    else:
        found.notes.append("not compared: the result, which was not recorded, because it cannot be pickled")
    return {"differences": found.differences, "notes": found.notes, "largest": found.largest, "modules": sorted(sys.modules)}

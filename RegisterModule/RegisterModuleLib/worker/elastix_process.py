"""The process that elastix runs in: ``python elastix_process.py REQUEST.json``.

A separate process, because a crash of its C++ code must not kill the worker, because it cannot be interrupted
otherwise, and because it conflicts with other packages built on ITK in the same process. Imports hardly anything
but itk.
"""

import json
import sys
from pathlib import Path

from MedDeepLib.data.formats.lean_itk import load_itk_with_elastix


def main(request_file: str) -> None:
    itk = load_itk_with_elastix()
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    fixed, moving = (itk.imread(request[name], itk.F) for name in ("fixed", "moving"))
    maps = itk.ParameterObject.New()
    for name in request["transforms"]:
        # The last number is the distance of the control points and is used for B-splines only.
        chosen = maps.GetDefaultParameterMap(name, request["resolutions"], request["control_spacing"])
        for key, value in request["settings"].items():
            chosen[key] = value
        maps.AddParameterMap(chosen)
    method = itk.ElastixRegistrationMethod.New(fixed, moving)
    method.SetParameterObject(maps)
    method.SetLogToConsole(False)
    method.UpdateLargestPossibleRegion()
    itk.transformwrite([method.ConvertToItkTransform(method.GetCombinationTransform())], request["transform"])


if __name__ == "__main__":
    main(sys.argv[1])

import subprocess
import sys

import pytest

from eosin.core import MissingExtraError, require_extra


def test_what_is_missing_is_named_with_its_extra():
    with pytest.raises(MissingExtraError, match=r"no_such, .*eosin\[train\]") as caught:
        require_extra("train", modules=("json", "no_such"), purpose="training")
    assert "json" not in str(caught.value)
    require_extra("train", modules=("json", "csv"), purpose="training")


def test_whoever_needs_keras_says_how_it_is_had():
    code = (
        "import sys\n"
        "sys.modules['keras'] = None\n"
        "import eosin.core\n"
        "try:\n"
        "    import eosin.models\n"
        "except eosin.core.MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "keras" in done.stdout
    assert "pip install 'eosin[train]'" in done.stdout

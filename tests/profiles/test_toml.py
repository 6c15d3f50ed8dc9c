import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.calibration.calibration import Calibration
from lbsim.profiles.catalog import SHIPPED
from lbsim.profiles.hardware import Accelerator, Cluster, Link
from lbsim.profiles.software import Kernels, Library, Software
from lbsim.profiles.toml import profile_to_toml, table_to_toml

CLASSES = (Accelerator, Link, Cluster, Kernels, Library, Software, Calibration)

# tomllib refuses surrogates, which are not characters
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = texts | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=12
)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.kind)
def test_every_shipped_profile_is_the_same_after_writing_and_loading(kind, tmp_path):
    names = SHIPPED.files(kind.kind)
    assert names
    for name in names:
        profile, file = kind.load(name), tmp_path / f"{name}.toml"
        file.write_text(profile_to_toml(profile), encoding="utf-8")
        assert kind.load(file) == profile


@given(st.dictionaries(texts, values, max_size=4))
def test_every_table_is_read_back_as_it_was(table):
    assert tomllib.loads(table_to_toml(table)) == table


def test_a_table_inside_a_list_is_a_table_of_its_own():
    fitted = [{"path": "cluster.inter_node.latency", "value": "18337 ns", "source": "x" * 80}]
    assert "[[fitted]]\n" in table_to_toml({"fitted": fitted})

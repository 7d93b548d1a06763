from pathlib import Path

import pytest

from elec.errors import InputError
from elec.runs import Workspace


def test_places(tmp_path):
    space = Workspace(str(tmp_path))
    assert Path(space.run("a")) == tmp_path / "a"
    assert Path(space.bundle("b")) == tmp_path / "registry" / "bundles" / "b"
    assert Path(space.reference("b")) == tmp_path / "registry" / "references" / "b"
    assert Workspace("s3://bucket/team").vectors == "s3://bucket/team/vectors"
    assert Workspace("s3://bucket/team/").feast == "s3://bucket/team/feast"
    for name in ("../x", "/etc"):
        with pytest.raises(InputError, match="leads out"):
            space.run(name)


def test_the_champion_and_the_one_before(tmp_path):
    space = Workspace(str(tmp_path))
    assert space.champion() is None
    assert space.promote("first", "run-1").previous is None
    assert space.promote("second", "run-2").previous == "first"
    found = space.champion()
    assert (found.bundle_id, found.run_id, found.previous) == ("second", "run-2", "first")


def test_promoting_the_champion_again_keeps_the_way_back(tmp_path):
    space = Workspace(str(tmp_path))
    space.promote("first", "run-1")
    space.promote("second", "run-2")
    assert space.promote("second", "run-2b").previous == "first"


@pytest.mark.parametrize(("content", "field"), [("{", "the content"), ('{"bundle_id": "x", "run_id": "y"}', "promoted_at")])
def test_a_damaged_record_is_one_sentence(tmp_path, content, field):
    path = tmp_path / "registry" / "champion.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=rf"champion\.json: not the record of a champion \({field}: .*restore it"):
        Workspace(str(tmp_path)).champion()


def test_a_rollback_and_forward_again(tmp_path):
    space = Workspace(str(tmp_path))
    with pytest.raises(InputError, match="no model is in service"):
        space.rollback("run-1")
    space.promote("first", "run-1")
    with pytest.raises(InputError, match="first is the first model in service"):
        space.rollback("run-1")
    space.promote("second", "run-2")
    back = space.rollback("run-1")
    assert (back.bundle_id, back.run_id, back.previous) == ("first", "run-1", "second")
    assert space.champion() == back
    assert space.rollback("run-2").bundle_id == "second"

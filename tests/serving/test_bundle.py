import hashlib
from pathlib import Path

import orjson
import pytest

from elec.errors import InputError
from elec.serving.bundle import open_bundle, verify
from elec.serving.manifest import MANIFEST, bundle_id, parse_manifest, read_manifest


def rewrite(folder: Path, **changes: object) -> None:
    """Changes the manifest as someone would who knows how its digest is made."""
    path = folder / MANIFEST
    content = orjson.loads(path.read_bytes()) | changes
    content.pop("digest")
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    path.write_bytes(orjson.dumps(content | {"digest": digest}))


def test_opens_what_was_built(made: Path) -> None:
    bundle = open_bundle(made / "bundle")
    assert bundle.manifest == read_manifest(made / "bundle")
    assert bundle.model.is_file()
    assert bundle.golden.is_file()
    assert bundle.manifest.bundle_id.startswith("toy-20240501T000000-")
    assert [field.name for field in bundle.manifest.fields] == ["user_id", "item_id", "age", "city", "genres", "price", "hour"]


def test_a_flipped_byte_in_any_file_is_refused(copy: Path) -> None:
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for position in (0, len(content) // 2, len(content) - 1):
            damaged = bytearray(content)
            damaged[position] ^= 0x01
            path.write_bytes(damaged)
            with pytest.raises(InputError):
                verify(copy)
        path.write_bytes(content)
    verify(copy)


def test_the_refusal_names_the_changed_file(copy: Path) -> None:
    path = copy / "vocabulary" / "encoder.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"encoder\.json: not the file that was published"):
        open_bundle(copy)


@pytest.mark.parametrize("name", ["model.onnx", "item.onnx", "golden.json", "vocabulary/encoder.json", "vocabulary/city.arrow"])
def test_a_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"'{name}' is missing"):
        open_bundle(copy)


def test_a_file_missing_from_the_manifest_too_is_refused(copy: Path) -> None:
    (copy / "golden.json").unlink()
    manifest = read_manifest(copy)
    files = {name: digest for name, digest in manifest.files.items() if name != "golden.json"}
    rewrite(copy, files=files, bundle_id=bundle_id(manifest.dataset, manifest.as_of, files))
    with pytest.raises(InputError, match=r"'golden\.json' is missing"):
        open_bundle(copy)


@pytest.mark.parametrize("name", ["extra.bin", "vocabulary/extra.arrow", ".hidden", "vocabulary/rest.tmp"])
def test_an_extra_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"is not in the bundle's manifest"):
        open_bundle(copy)


@pytest.mark.parametrize(
    "name", ["../outside.bin", "/etc/passwd", "a/../../b", "./model.onnx", "a//b", "", "a\\..\\b", MANIFEST]
)
def test_a_path_that_climbs_out_is_refused(copy: Path, name: str) -> None:
    (copy.parent / "outside.bin").write_bytes(b"x")
    manifest = read_manifest(copy)
    files = {**manifest.files, name: hashlib.sha256(b"x").hexdigest()}
    rewrite(copy, files=files, bundle_id=bundle_id(manifest.dataset, manifest.as_of, files))
    with pytest.raises(InputError, match="leads out of the bundle"):
        open_bundle(copy)


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST])
def test_a_symbolic_link_to_a_file_is_refused(copy: Path, name: str) -> None:
    moved = copy.parent / "elsewhere"
    (copy / name).rename(moved)
    (copy / name).symlink_to(moved)
    with pytest.raises(InputError, match="a symbolic link"):
        open_bundle(copy)


def test_a_symbolic_link_to_a_folder_is_refused(copy: Path) -> None:
    (copy / "vocabulary").rename(copy.parent / "elsewhere")
    (copy / "vocabulary").symlink_to(copy.parent / "elsewhere")
    with pytest.raises(InputError, match="a symbolic link"):
        open_bundle(copy)


@pytest.mark.parametrize("version", [0, 99, "1", None])
def test_another_schema_version_is_refused(copy: Path, version: object) -> None:
    rewrite(copy, schema_version=version)
    with pytest.raises(InputError, match=r"schema_version is .*this code reads 1"):
        open_bundle(copy)


def test_a_manifest_with_other_content_is_refused(copy: Path) -> None:
    path = copy / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"auc": 0.7', b'"auc": 0.9'))
    with pytest.raises(InputError, match="was changed after it was written"):
        open_bundle(copy)


def test_an_id_that_is_not_of_these_files_is_refused(copy: Path) -> None:
    rewrite(copy, bundle_id="toy-20240501T000000-0123456789ab")
    with pytest.raises(InputError, match="its files make it"):
        open_bundle(copy)


def test_an_unknown_key_is_refused(copy: Path) -> None:
    rewrite(copy, colour="red")
    with pytest.raises(InputError, match="colour"):
        open_bundle(copy)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\x00\xff"])
def test_a_manifest_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="damaged"):
        parse_manifest(content, origin="here")


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no bundle, for it has no manifest\.json"):
        open_bundle(tmp_path)
    with pytest.raises(InputError, match="no bundle"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read"):
        open_bundle(tmp_path / "file")

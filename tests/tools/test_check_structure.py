"""The checker of the tree finds what it is there to find, and finds nothing in the tree itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from tools import check_structure

ROOT = Path(__file__).parents[2]
FLOW = '"""A room.\n\nin → something\nout → something else\n"""\n'


def tree(root: Path, **files: str) -> Path:
    """Write modules under `root`; ``upper__a`` is upper/a.py, ``upper__INIT`` its package's code, which says in and out unless given."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(root).parents:
            if folder.parts and not (init := root / folder / "__init__.py").exists():
                init.write_text(FLOW)
    return root


def test_this_tree_is_clean_and_what_is_exempt_by_name_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set(check_structure.BY_POSITION)
    monkeypatch.setattr(check_structure, "BY_POSITION", {})
    found = check_structure.check(ROOT)
    assert set(found.positional) == names
    found = replace(found, positional={})
    assert found.clean, check_structure.show(found)
    assert found.files > 150
    assert "circles: 0" in check_structure.show(found)


@pytest.mark.parametrize(
    "way",
    [
        "from upper import a\n",
        "from upper.a import thing\n",
        "import upper.a\n",
        "from . import a\n",
        "from .a import thing\n",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from upper.a import thing\n",
        "try:\n    import upper.a\nexcept ImportError:\n    pass\n",
        "class C:\n    from upper import a\n",
    ],
)
def test_a_circle_of_three_files_is_found_however_it_is_imported(tmp_path: Path, way: str) -> None:
    root = tree(tmp_path, upper__a="from lower import c\n", lower__c="from upper import b\n", upper__b=way, lower__free="import upper.a\n")
    found = check_structure.check(root)
    assert found.circles == [["lower.c", "upper.a", "upper.b"]]
    assert not found.clean
    assert "circles: 1" in check_structure.show(found)
    assert check_structure.main([str(root)]) == 1


def test_two_circles_are_two_and_an_import_inside_a_function_is_none(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        one__a="import one.b\n", one__b="import one.a\n",
        two__c="import two.d\n", two__d="import two.c\nimport one.a\n",
        three__e="import three.f\n", three__f="def late():\n    import three.e\n\n    return three.e\n",
    )  # fmt: skip
    assert check_structure.check(root).circles == [["one.a", "one.b"], ["two.c", "two.d"]]


def test_a_package_and_its_module_are_a_circle(tmp_path: Path) -> None:
    root = tree(tmp_path, room__part="from room import NUMBER\n", room__INIT=FLOW + "from room.part import thing\n\nNUMBER = 1\n")
    assert check_structure.check(root).circles == [["room", "room.part"]]
    assert not check_structure.check(tree(tmp_path / "other", room__part="from room import other\n", room__other="")).circles


def test_a_name_that_stands_twice_is_found_but_not_a_kernels(tmp_path: Path) -> None:
    root = tree(tmp_path, one__parse="", two__deep__parse="", two__kernels__once="", one__once="", tests__parse="")
    found = check_structure.check(root)
    assert found.names_twice == {"parse": ["one.parse", "two.deep.parse"]}


def test_a_long_file_and_a_package_that_does_not_say_in_and_out_are_found(tmp_path: Path) -> None:
    root = tree(tmp_path, one__long="x = 1\n" * 421, one__fits="x = 1\n" * 420, two__a="", two__INIT='"""in → only."""\n')
    found = check_structure.check(root)
    assert found.long_files == {"one/long.py": 421}
    assert found.silent_packages == ["two"]
    assert not found.circles


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f(a, b, c): ...\n", {"one.a.f": 3}),
        ("def f(a, b, /, c=1): ...\n", {"one.a.f": 3}),
        ("async def _f(a, b, c, d, *, e): ...\n", {"one.a._f": 4}),
        ("if True:\n    def f(a, b, c): ...\n", {"one.a.f": 3}),
        ("class C:\n    def __init__(self, a, b, c): ...\n    def g(self, a, b): ...\n", {"one.a.C.__init__": 3}),
        ("class C:\n    @staticmethod\n    def f(a, b, c): ...\n    @classmethod\n    def g(cls, a, b): ...\n", {"one.a.C.f": 3}),
        ("class C:\n    def f(self):\n        def g(a, b, c): ...\n", {"one.a.C.f.g": 3}),
        ("def f(one, more, tokens, stamps, context): ...\n", {"one.a.f": 3}),
        ("def f(stamps, tokens, context): ...\n", {"one.a.f": 3}),
        ("def f(a, b, *, c): ...\ndef g(a, b): ...\nasync def h(a, *, b, c, d): ...\n", {}),
        ("def f(a, b, c, *more): ...\n", {}),
        ("@compiled\ndef f(a, b, c): ...\n@compiled(reassociate=True)\ndef g(a, b, c): ...\n@numba.njit\ndef h(a, b, c): ...\n", {}),
        ("class C:\n    def __exit__(self, kind, error, trace): ...\n    async def __call__(self, scope, receive, send): ...\n", {}),
        ("def f(session, tokens, stamps, context): ...\n", {}),
    ],
)
def test_a_function_of_three_arguments_by_position_is_found(tmp_path: Path, text: str, found: dict[str, int]) -> None:
    result = check_structure.check(tree(tmp_path, one__a=text))
    assert result.positional == found
    assert result.clean == (not found)
    assert f"arguments by position: {len(found)}" in check_structure.show(result)


def test_benchmarks_are_looked_at_for_arguments_by_position_but_no_test_and_no_kernel(tmp_path: Path) -> None:
    wide = "def f(a, b, c): ...\n"
    found = check_structure.check(tree(tmp_path, one__a="", benchmarks__b=wide, tests__c=wide, one__kernels__d=wide))
    assert found.positional == {"benchmarks.b.f": 3}


def test_an_empty_folder_is_not_a_clean_tree(tmp_path: Path) -> None:
    assert check_structure.main([str(tmp_path)]) == 2

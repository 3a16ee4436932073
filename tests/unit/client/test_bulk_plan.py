"""Whom a bulk enrolment is about: what folders and CSV files say, and what is told when they say it wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.client.bulk_plan import Plan, PlanError, PlannedSubject
from tessera.client.bulk_sources import read_plan


def folder(root: Path, **people: list[str]) -> Path:
    """A folder of people, each with pictures of these names."""
    for name, pictures in people.items():
        (root / name).mkdir(parents=True)
        for picture in pictures:
            (root / name / picture).write_bytes(f"{name}/{picture}".encode())
    return root


def csv_file(root: Path, text: str, *pictures: str, encoding: str = "utf-8") -> Path:
    """A CSV file, and pictures beside it."""
    for picture in pictures:
        (root / picture).parent.mkdir(parents=True, exist_ok=True)
        (root / picture).write_bytes(picture.encode())
    path = root / "people.csv"
    path.write_text(text, encoding=encoding)
    return path


def problems_of(source: Path, **options: bool) -> list[str]:
    """What stands in the way.

    Raises:
        AssertionError: nothing does.
    """
    try:
        read_plan(source, **options)  # type: ignore[arg-type]  # the tests give the flags alone
    except PlanError as error:
        return [str(problem) for problem in error.problems]
    raise AssertionError("nothing was wrong")


# ---- folders


def test_a_folder_names_a_subject_and_its_files_are_pictures(tmp_path: Path) -> None:
    """Each folder is somebody; pictures by their endings, however written; all in the order of their names."""
    source = folder(tmp_path / "people", bo=["2.PNG", "1.jpg"], ada=["a.webp", "b.bmp", "c.jpeg"])
    plan = read_plan(source)
    assert plan == Plan(
        source,
        source.resolve(),
        (
            PlannedSubject("ada", ("ada/a.webp", "ada/b.bmp", "ada/c.jpeg")),
            PlannedSubject("bo", ("bo/1.jpg", "bo/2.PNG")),
        ),
    )


def test_what_is_no_picture_is_told_and_left_out(tmp_path: Path) -> None:
    """Notes, loose files and folders below are named; what is hidden, such as the journal, is not spoken of."""
    source = folder(tmp_path / "people", ada=["a.jpg", "notes.txt", ".DS_Store"])
    (source / "loose.jpg").write_bytes(b"x")
    (source / ".tessera-enroll.jsonl").write_bytes(b"")
    (source / "ada" / "more").mkdir()
    assert read_plan(source).left_out == ("ada/more", "ada/notes.txt", "loose.jpg")


def test_every_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    """Wrong names, no pictures and too many pictures, all at once, before anything is sent."""
    many = [f"{number}.jpg" for number in range(17)]
    source = folder(tmp_path / "people", **{"Ada Lovelace": ["a.jpg"], "bo": [], "cy": many, "di": ["a.jpg"]})
    name, none, too_many = problems_of(source)
    assert "Ada Lovelace: its name" in name
    assert "bo: 0 pictures" in none
    assert "cy: 17 pictures" in too_many


def test_a_folder_without_people_is_told(tmp_path: Path) -> None:
    """A folder of loose pictures is somebody's mistake about its shape."""
    (tmp_path / "face.jpg").write_bytes(b"x")
    assert "SUBJECT_ID" in problems_of(tmp_path)[0]


def test_a_source_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Such as one that is gone meanwhile."""
    assert "No such file" in problems_of(tmp_path / "gone.csv")[0]


# ---- CSV files


def test_a_csv_file_says_everything_of_a_person(tmp_path: Path) -> None:
    """Columns in any order, quotes, a byte-order mark, empty lines; times in UTC."""
    text = (
        "path,subject_id,display_name,external_id,labels,consent_reference,valid_from,valid_until\n"
        '"pics/a, 1.jpg",ada,"Lovelace, Ada",7,staff; vip ;staff,DPO-1,2027-01-01,2027-06-30T18:00:00+02:00\n'
        "\n"
        "pics/2.jpg,ada,,,,,,\n"
    )
    source = csv_file(tmp_path, text, "pics/a, 1.jpg", "pics/2.jpg", encoding="utf-8-sig")
    assert read_plan(source).subjects == (
        PlannedSubject(
            "ada",
            ("pics/a, 1.jpg", "pics/2.jpg"),
            display_name="Lovelace, Ada",
            external_id="7",
            labels=("staff", "vip"),
            consent_reference="DPO-1",
            valid_from=datetime(2027, 1, 1, tzinfo=UTC),
            valid_until=datetime(2027, 6, 30, 16, tzinfo=UTC),
        ),
    )


def test_rows_of_one_subject_join_wherever_they_stand(tmp_path: Path) -> None:
    """What a row leaves empty another may say; the pictures keep their order."""
    text = "subject_id,path,display_name\nada,1.jpg,\nbo,2.jpg,Bo\nada,3.jpg,Ada\n"
    ada, bo = read_plan(csv_file(tmp_path, text, "1.jpg", "2.jpg", "3.jpg")).subjects
    assert (ada.pictures, ada.display_name, bo.pictures) == (("1.jpg", "3.jpg"), "Ada", ("2.jpg",))


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "line 1, column subject_id", "missing"),
        ("subject_id,path,colour\n", "line 1, column colour", "no such column"),
        ("subject_id;path\nada;1.jpg\n", "line 1, column subject_id;path", "separated by commas"),
        ("subject_id,path,path\n", "line 1, column path", "twice"),
        ("subject_id,path\n", "line 2", "no row"),
        ("subject_id,path\nada,1.jpg\nada\n", "line 3", "1 values"),
        ("subject_id,path\nada smith,1.jpg\n", "line 2, column subject_id", "ada smith"),
        ("subject_id,path\n,1.jpg\n", "line 2, column subject_id", "''"),
        ("subject_id,path\nada,\n", "line 2, column path", "to a file in it"),
        ("subject_id,path\nada,/etc/hostname\n", "line 2, column path", "to a file in it"),
        ("subject_id,path\nada,x/../../1.jpg\n", "line 2, column path", "to a file in it"),
        ("subject_id,path\nada,gone.jpg\n", "line 2, column path", "no file"),
        ("subject_id,path\nada,.\n", "line 2, column path", "no file"),
        ("subject_id,path\nada,1.jpg\nada,./1.jpg\n", "line 3, column path", "same picture as in line 2"),
        ("subject_id,path\nada,1.jpg\nbo,1.jpg\n", "line 3, column path", "same picture as in line 2"),
        ("subject_id,path,display_name\nada,1.jpg,A\nada,2.jpg,B\n", "line 3, column display_name", "than in line 2"),
        ("subject_id,path,display_name\nada,1.jpg," + "x" * 257, "line 2, column display_name", "257"),
        ("subject_id,path,labels\nada,1.jpg," + "x" * 65, "line 2, column labels", "at most 64"),
        ("subject_id,path,valid_from\nada,1.jpg,tomorrow\n", "line 2, column valid_from", "tomorrow"),
        ("subject_id,path,valid_from\nada,1.jpg,0001-01-01T00:00+10:00\n", "line 2, column valid_from", "0001"),
        (
            "subject_id,path,valid_from,valid_until\nada,1.jpg,2027-01-02,2027-01-01\n",
            "line 2, column valid_until",
            "later",
        ),
        ('subject_id,path\nada,"1.jpg\n', "line 2", "unexpected end"),
        ('subject_id,path\n"a\nb",1.jpg\nbo,gone.jpg\n', "line 4, column path", "no file"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(tmp_path: Path, text: str, where: str, what: str) -> None:
    """Each wrong thing has its place, also after a value that spans lines."""
    told = problems_of(csv_file(tmp_path, text, "1.jpg", "2.jpg"))
    assert any(line.startswith(f"people.csv, {where}:") and what in line for line in told), told


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    """With the line from which it cannot be read, or one shortly before."""
    source = csv_file(tmp_path, "subject_id,path,display_name\nada,1.jpg,Björn\n", "1.jpg", encoding="latin-1")
    assert "UTF-8" in problems_of(source)[0]


def test_the_seventeenth_picture_is_told(tmp_path: Path) -> None:
    """A request takes 16; which ones to leave out is not ours to choose."""
    names = [f"{number}.jpg" for number in range(17)]
    source = csv_file(tmp_path, "subject_id,path\n" + "".join(f"ada,{name}\n" for name in names), *names)
    assert problems_of(source) == ["people.csv, line 18, column path: picture 17 of this subject; allowed: at most 16"]


@given(st.text(max_size=200))
def test_any_text_is_a_plan_or_told(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Nothing but `PlanError` comes out, and each problem has a place in the file."""
    root = tmp_path_factory.mktemp("csv")
    source = root / "people.csv"
    source.write_bytes(b"subject_id,path\n" + text.encode("utf-8", "surrogatepass"))
    for line in problems_of(source):
        assert line.startswith("people.csv, line ")


# ---- consent


def test_consent_can_be_required(tmp_path: Path) -> None:
    """Everybody without one is named; one for all fills the gaps, and only the gaps."""
    text = "subject_id,path,consent_reference\nada,1.jpg,DPO-1\nbo,2.jpg,\ncy,3.jpg,\n"
    source = csv_file(tmp_path, text, "1.jpg", "2.jpg", "3.jpg")
    told = problems_of(source, require_consent=True)
    assert [line.split(":")[0] for line in told] == [
        "people.csv, line 3, column consent_reference",
        "people.csv, line 4, column consent_reference",
    ]
    plan = read_plan(source, consent_reference="DPO-9", require_consent=True)
    assert [one.consent_reference for one in plan.subjects] == ["DPO-1", "DPO-9", "DPO-9"]


def test_a_folder_has_consent_only_from_the_caller(tmp_path: Path) -> None:
    """Its names cannot say it."""
    source = folder(tmp_path / "people", ada=["a.jpg"])
    assert "ada" in problems_of(source, require_consent=True)[0]
    assert read_plan(source, consent_reference="DPO-1", require_consent=True).subjects[0].consent_reference == "DPO-1"

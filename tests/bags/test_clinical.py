import json
import re

import numpy as np
import pandas as pd
import pytest

from eosin.bags import (
    ClinicalColumn,
    ClinicalEncoding,
    caution_clinical,
    caution_unknown,
    find_kinds,
    fit_clinical,
    read_clinical,
)
from eosin.core import ManifestError

TRAINING = [
    {"age": "40", "sex": "F"},
    {"age": "60", "sex": "m"},
    {"age": None, "sex": "f"},
    {"age": "80", "sex": None},
]
KINDS = {"age": "number", "sex": "category"}


def test_numbers_are_standardised_and_categories_spread():
    encoding = fit_clinical(TRAINING, KINDS)
    # The median 60 stands in: mean of 40, 60, 60, 80 is 60, their variance 200.
    deviation = np.sqrt(200)
    assert encoding.names == ("age", "sex")
    assert encoding.width == 5
    assert encoding.encode({"age": "80", "sex": "M"}, owner="x") == pytest.approx(
        [20 / deviation, 0, 0, 1, 0], abs=1e-6
    )
    # Missing: the median and a sign; a level that nobody had is unknown.
    assert encoding.encode({"sex": "other"}, owner="x").tolist() == [0, 1, 0, 0, 1]
    assert encoding.encode({"age": "n/a"}, owner="x").tolist() == [0, 1, 0, 0, 1]


def test_the_training_patients_alone_have_a_say():
    one = fit_clinical(TRAINING[:2], KINDS)
    assert one.columns[0] == ClinicalColumn(
        name="age", kind="number", mean=50.0, deviation=10.0, median=50.0
    )
    assert one.columns[1].levels == ("f", "m")


def test_a_constant_or_empty_column_says_nothing():
    encoding = fit_clinical([{"age": "7"}, {"age": "7"}], {"age": "number"})
    assert encoding.encode({"age": "7"}, owner="x").tolist() == [0, 0]
    encoding = fit_clinical([{"age": None}], {"age": "number"})
    assert encoding.encode({"age": None}, owner="x").tolist() == [0, 1]


def test_an_encoding_survives_json():
    encoding = fit_clinical(TRAINING, KINDS)
    kept = json.loads(json.dumps(encoding.to_config()))
    assert ClinicalEncoding.from_config(kept) == encoding


def test_a_text_for_a_number_is_named():
    encoding = fit_clinical(TRAINING, KINDS)
    for value in ("old", "inf"):
        with pytest.raises(ManifestError, match=f"P7: age must be a number.*'{value}'"):
            encoding.encode({"age": value}, owner="P7")


def test_patients_have_one_value_whichever_slide_says_it():
    table = pd.DataFrame(
        {
            "patient_id": ["P1", "P1", "P2", "P3"],
            "age": ["", "61", np.nan, "NA"],
            "sex": [" F", "f ", "M", None],
        }
    )
    assert read_clinical(table, ("age", "sex")) == {
        "P1": {"age": "61", "sex": "f"},
        "P2": {"age": None, "sex": "M"},
        "P3": {"age": None, "sex": None},
    }
    clash = table.assign(age=["60", "61", "1", "2"], sex=["m", "f", "f", "f"])
    with pytest.raises(ManifestError) as caught:
        read_clinical(clash, ("age", "sex"))
    assert "1 patient(s) contradict each other in 'age', such as P1 (60 and 61)" in str(
        caught.value
    )
    assert "in 'sex', such as P1 (f and m)" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("grade",), "no column grade; it has age$"),
        (("ages",), "no column ages; it has age; is 'age' meant\\?"),
        (("label",), "label can be no clinical column"),
        (("age", "age"), "named twice: age, age"),
    ],
)
def test_columns_that_cannot_be_taken_are_named(names, message):
    table = pd.DataFrame({"patient_id": ["P1"], "age": ["1"], "label": ["a"]})
    # As a slide table is read whose file has no such column.
    table["scanner"] = None
    with pytest.raises(ManifestError, match=message):
        read_clinical(table, names)


def test_kinds_are_found_from_every_value():
    values = {str(i): row for i, row in enumerate(TRAINING)}
    assert find_kinds(values, ("age", "sex")) == KINDS
    ages = {str(i): {"age": text} for i, text in enumerate(("54,5", "0,123", "61"))}
    assert find_kinds(ages, ("age",)) == {"age": "number"}


@pytest.mark.parametrize(
    "text", [">89", "60 y", "1,234", "old", "~50", "70 years", "12 mm"]
)
def test_a_text_among_numbers_is_named(text):
    values = {f"P{i}": {"age": str(50 + i)} for i in range(4)} | {"P9": {"age": text}}
    with pytest.raises(ManifestError) as raised:
        find_kinds(values, ("age",))
    assert (
        f"the column 'age' holds numbers and, for 1 of 5 patients, texts: '{text}' (P9)"
        in str(raised.value)
    )


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("M male F", "'M' and 'male'"),
        ("Stage-II stage_ii I", "'Stage-II' and 'stage_ii'"),
        ("yes no Y", "'yes' and 'Y'"),
        ("G1 G-1 G2", "'G1' and 'G-1'"),
    ],
)
def test_one_category_in_two_spellings_is_named(texts, said):
    values = {f"P{i}": {"x": text} for i, text in enumerate(texts.split())}
    with pytest.raises(ManifestError, match=f"'x' writes one .* ways: {said}"):
        find_kinds(values, ("x",))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("G1 G2 G3 g1", None),
        ("0 1+ 2+ 3+", r"counts as categories.* '0' \(S0\)"),
        ("T1 T1a T2", None),
        ("<50 >=50", r"counts as categories.* '<50' \(S0\), '>=50' \(S1\)"),
        ("54y 60y", r"counts as categories.* '54y' \(S0\)"),
        ("a [Unknown] '-- b", r"nothing for 2 slides.* '\[Unknown\]' \(S1\), ''--'"),
        ("1 2 not_reported #N/A", r"nothing for 2 slides.*'not_reported' \(S2\)"),
        ("1 2 3", None),
        ("54 60 999 71", r"holds '999' \(S2\), far from its other numbers"),
        ("1.5 0 -9 -9", r"holds '-9' \(S2\), far"),
        ("-1 -2 3", None),
        ("99 85 60", None),
    ],
)
def test_what_a_column_is_taken_for_is_said(texts, said):
    table = pd.DataFrame({"x": texts.split()})
    table["slide_id"] = table["patient_id"] = [f"S{i}" for i in range(len(table))]
    cautions = caution_clinical(table, ("x",))
    if said is None:
        assert cautions == ()
    else:
        assert re.search(said, *cautions)
    find_kinds(read_clinical(table, ("x",)), ("x",))


def test_another_table_may_spell_a_category_otherwise():
    encoding = fit_clinical([{"sex": "M"}, {"sex": "F"}], {"sex": "category"})
    assert encoding.encode({"sex": "Male "}, owner="x").tolist() == [0, 1, 0]
    assert encoding.encode({"sex": "weiblich"}, owner="x").tolist() == [1, 0, 0]
    assert encoding.encode({"sex": "other"}, owner="x").tolist() == [0, 0, 1]
    table = pd.DataFrame({"slide_id": ["A", "B", "C"], "sex": ["w", "divers", ""]})
    (caution,) = caution_unknown([encoding], table)
    assert "'sex' says of 1 slides, which counts as missing: 'divers' (B)" in caution
    assert caution_unknown([encoding], table.drop(index=1)) == ()


def test_columns_of_nothing_or_of_names_are_refused():
    values = {str(i): {"a": None, "b": f"note {i}"} for i in range(21)}
    with pytest.raises(ManifestError, match="'a' is empty for all 21 patients"):
        find_kinds(values, ("a",))
    with pytest.raises(ManifestError, match="at most 20 categories; it holds 21 texts"):
        find_kinds(values, ("b",))

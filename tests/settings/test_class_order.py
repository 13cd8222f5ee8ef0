import pytest

from eosin.settings import is_order_told, order_by_name, put_negative_first, say_order


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ("non-cancer", "cancer"),
        ("nonmalignant", "malignant"),
        ("not_invaded", "Invaded"),
        ("no tumour", "tumour"),
        ("no_tumor", "OSCC"),
        ("NoMetastasis", "Metastasis"),
        ("nonMSIH", "MSIH"),
        ("uninvolved", "involved"),
        ("inactive", "active"),
        ("asymptomatic", "symptomatic"),
        ("unmethylated", "methylated"),
        ("stable", "unstable"),
        ("typical", "atypical"),
        ("normal", "abnormal"),
        ("MSS", "MSIMUT"),
        ("pMMR", "dMMR"),
        ("VHL_wt", "VHL_mut"),
        ("EGFR wild-type", "EGFR mutated"),
        ("wildtype", "mutated"),
        ("absent", "present"),
        ("node-negative", "Lymph-positive"),
        ("HPV-", "HPV+"),
        ("tumor_free", "tumor"),
        ("cancerfree", "cancer"),
        ("control", "case"),
        ("healthy_liver", "HCC"),
        ("neg", "pos"),
        ("0", "1"),
        ("no", "yes"),
        ("False", "True"),
        ("gutartig", "bösartig"),
        ("kein_Tumor", "Tumor"),
        ("bénin", "malin"),
        ("sans_tumeur", "tumeur"),
        ("negatif", "positif"),
        ("unauffällig", "auffällig"),
        ("pas de tumeur", "tumeur"),
        ("geen kanker", "kanker"),
        ("zdrowy", "rak"),
        ("正常", "肿瘤"),
        ("非腫瘍", "腫瘍"),
        ("норма", "опухоль"),
        ("N0", "N+"),
        ("ER (-)", "ER (+)"),
        ("ER\N{EN DASH}", "ER+"),
        ("IDHwt", "IDHmut"),
        ("HER2neg", "HER2pos"),
        ("favourable", "unfavourable"),
    ],
)
def test_the_name_tells_the_negative_class(negative, positive):
    for names in ((negative, positive), (positive, negative)):
        assert put_negative_first(names) == order_by_name(names) == (negative, positive)
        assert is_order_told(names)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("MSI high", "MSI low"), "MSI low"),
        (("grade 3", "grade 10", "grade 2"), "grade 2"),
        (("2", "1"), "1"),
        (("1", "-1"), "-1"),
        (("LG", "HG"), "LG"),
        (("TMB-H", "TMB-L"), "TMB-L"),
        (("Ki67 low", "Ki67 high"), "Ki67 low"),
        (("living", "deceased"), "living"),
    ],
)
def test_grades_are_ordered_where_nobody_did(names, first):
    assert order_by_name(names)[0] == first
    assert is_order_told(names)
    # An order that somebody gave is kept.
    assert put_negative_first(names) == names


@pytest.mark.parametrize(
    "names",
    [
        *(("LUAD", "LUSC"), ("b", "a"), ("node", "nodule")),
        # Codes of SNOMED and ICD, a type called AB, a finding with a denying word.
        *(("108369006", "17621005"), ("C50", "C34"), ("AB", "B")),
        ("no special type", "lobular"),
        # No words at all.
        ("..", "?"),
    ],
)
def test_names_that_tell_nothing_keep_their_order(names):
    assert put_negative_first(names) == names
    assert order_by_name(names) == tuple(sorted(names))
    assert not is_order_told(names)


def test_of_three_classes_the_usual_name_goes_before_a_denial():
    names = ("Viable", "Non-Viable-Tumor", "Non-Tumor")
    assert put_negative_first(names) == ("Non-Tumor", "Viable", "Non-Viable-Tumor")
    assert say_order(("no", "a", "b")) == (
        "'a', 'b' are looked for (positive), 'no' is the negative class"
    )


def test_a_triple_negative_carcinoma_is_a_finding():
    assert put_negative_first(("luminal", "triple-negative"))[0] == "luminal"


def test_a_benign_lesion_is_no_normal_tissue():
    names = ("Benign", "InSitu", "Invasive", "Normal")
    assert order_by_name(names)[0] == put_negative_first(names)[0] == "Normal"

from eosin.core import Progress


def test_the_base_class_is_silent(capsys):
    progress = Progress()
    with progress.task("Working", 3) as task:
        task.advance()
        task.advance(2, note="x")
    progress.say("hello")
    assert capsys.readouterr() == ("", "")

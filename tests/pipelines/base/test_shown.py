"""What is printed moves no cursor, whatever files are called."""

from rich.text import Text

from pipelines.base.encoding import shown
from pipelines.base.terminal import as_text


def test_control_characters_are_escaped_and_scripts_are_not():
    assert shown("a\x1b[2Jb\rc\u202ed\x9bé猫\n\t") == "a\\x1b[2Jb\\rc\\u202ed\\x9bé猫\n\t"


def test_tables_show_names_with_their_control_characters_escaped():
    printed = as_text(Text("cat\x1b[2J/\x1b]0;title\x07\u202egnp.png"))
    assert not set(printed) & set("\x1b\x07\u202e")
    assert "cat\\x1b[2J" in printed

from __future__ import annotations

from counterpoint.adapters.tools.runtime import statements


def test_semicolons_in_texts_names_and_comments_do_not_end_a_statement() -> None:
    sql = """
        select ';', "a;b" -- one; two
        ; /* three; */
        create function f() as $body$ begin; end; $body$;
        select $$;$$;
    """

    assert list(statements.split(sql)) == [
        """select ';', "a;b" -- one; two""",
        "/* three; */\n        create function f() as $body$ begin; end; $body$",
        "select $$;$$",
    ]


def test_what_is_only_blank_or_comment_is_no_statement() -> None:
    assert list(statements.split(";;  -- nothing;\n;/* ; */")) == []
    assert list(statements.split("select 1 -- last")) == ["select 1 -- last"]


def test_parameters_are_names_outside_of_texts() -> None:
    statement = "select $a, '$b', $$ $c $$, x::date, $d_1, $a, 'it''s $e' -- $f"

    assert statements.parameters(statement) == ["a", "d_1"]
    assert statements.numbered(statement) == "select $1, '$b', $$ $c $$, x::date, $2, $1, 'it''s $e' -- $f"

import logging

from uem.services import logs


def test_each_record_is_one_line_on_stderr_with_utc_time_and_level(capsys):
    logs.set_up()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("uem.services.x").exception("went wrong")
    logging.getLogger("uem.services.x").debug("not shown")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "+00:00 ERROR uem.services.x: went wrong | Traceback" in err
    assert "ValueError: two | lines" in err

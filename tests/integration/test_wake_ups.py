"""Whichever thread commits, its wake-up goes to Daybook's own broker."""

import threading

from celery import current_app

from config.celery import app


def test_a_thread_that_serves_requests_sends_to_our_broker() -> None:
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(current_app._get_current_object()))
    thread.start()
    thread.join()
    assert seen == [app]


def test_a_task_keeps_nothing_but_its_wake_up_in_the_broker() -> None:
    assert app.conf.result_backend is None
    assert app.conf.task_acks_late
    assert app.conf.task_time_limit < app.conf.broker_transport_options["visibility_timeout"]

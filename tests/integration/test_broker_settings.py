"""The broker's settings: wake-ups go to Daybook's own, and nobody ever waits for an acknowledgement."""

import threading

from celery import current_app

from config.celery import app


def test_a_thread_that_serves_requests_sends_to_our_broker() -> None:
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(current_app._get_current_object()))
    thread.start()
    thread.join()
    assert seen == [app]


def test_it_leaves_nothing_in_the_broker_that_a_worker_could_wait_for() -> None:
    assert app.conf.result_backend is None
    assert all(queue.no_ack for queue in app.amqp.queues.consume_from.values())

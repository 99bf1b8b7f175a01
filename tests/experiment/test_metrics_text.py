import threading

from experiment.server.metrics_text import Counter, Gauge, Histogram, page


def test_the_page_is_prometheus_text():
    answers, swaps = Counter("a_total", "Answers.", "status"), Counter("b_total", "Swaps.")
    answers.add("503")
    answers.add("200", 2)
    answers.add('o"\\d\n')
    seconds = Histogram("s_seconds", "Seconds.", (0.01, 1))
    for value in (0.005, 0.01, 0.5, 7.0):
        seconds.observe(value)
    text = page([answers, swaps, seconds, Gauge("g", "Now.", lambda: 3.5)])
    assert text == (
        "# HELP a_total Answers.\n# TYPE a_total counter\n"
        'a_total{status="200"} 2\na_total{status="503"} 1\na_total{status="o\\"\\\\d\\n"} 1\n'
        "# HELP b_total Swaps.\n# TYPE b_total counter\nb_total 0\n"
        "# HELP s_seconds Seconds.\n# TYPE s_seconds histogram\n"
        's_seconds_bucket{le="0.01"} 2\ns_seconds_bucket{le="1"} 3\ns_seconds_bucket{le="+Inf"} 4\n'
        "s_seconds_sum 7.515\ns_seconds_count 4\n"
        "# HELP g Now.\n# TYPE g gauge\ng 3.5\n"
    )


def test_no_count_is_lost_between_threads():
    counter, histogram = Counter("a", "A."), Histogram("b", "B.", (1,))

    def work():
        for _ in range(5000):
            counter.add()
            histogram.observe(0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.count() == 20_000
    assert list(histogram.lines())[-1] == "b_count 20000"

from tidemill.streams.broker import probe

def test_kafka(kafka):
    assert probe.ask(kafka.port).brokers == 1

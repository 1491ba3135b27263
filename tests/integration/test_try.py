import time
from datetime import UTC, datetime, timedelta

def test_try(make_mill):
    mill = make_mill()
    t=time.monotonic()
    s = mill.run()
    mill.wait(0); print("published", time.monotonic()-t)
    start = datetime(2024,1,1,tzinfo=UTC)
    mill.send([{"id": str(i), "customer": f"c{i%7}", "at": start+timedelta(seconds=i), "amount": float(i%50), "shop": "ABCD"[i%4]} for i in range(1000)])
    print("sent", time.monotonic()-t)
    mill.wait(1000)
    print("answered", time.monotonic()-t)
    print(mill.audit(), time.monotonic()-t)
    print(mill.rows("features")[:3])
    print(mill.stop(s), time.monotonic()-t)
    print(mill.log())

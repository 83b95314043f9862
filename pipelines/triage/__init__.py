"""`distilwatch triage`: a queue of flagged clusters, a page for each, and a place to decide.

Server-rendered; works without JavaScript. `store` reads the tables, `queue` keeps what the queue
shows in memory, `case` tells of one cluster, `auth` says who asks, `app` puts pages to addresses.
"""

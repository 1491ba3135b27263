"""Windows on other keys than the events' own: rows that change their partition, and come back.

block      how rows travel on internal topics
split      sends each row to where the rows with the same key are, and says how far its partition has come
merge      puts the rows of several partitions in one order, whatever came first
windows    the task between: merge, windows, and back
join       finds the rows of an event again
assembly   the last task: join, features, predictions
tasks      which of these a group of stages needs
"""

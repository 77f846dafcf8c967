-- One node says that it lives. KEYS 1: the nodes. ARGV 1: node, 2: how long it is believed (microseconds).
-- Answers: how many live.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local life = tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - life))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life / 1000 * 10))
return redis.call('ZCARD', KEYS[1])

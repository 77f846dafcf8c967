-- How both scripts begin, on the log of purges. It is one string, so that Redis loses it whole or not at all: 32 digits that say whose
-- log it is, 16 of how many purges there were, then the last of them, 18 bytes each, around a ring.
-- KEYS 1: the log. ARGV 1: 32 digits for a log that is new, 2: how many purges it keeps, 3: how long it is kept after it was last used
-- (milliseconds).
-- The last 16 of the 32 digits stand for the nodes' key: with different ones they would purge past each other. A log of another key
-- that nobody uses any more is begun anew.
local own = redis.call('GETRANGE', KEYS[1], 16, 31)
if own ~= '' and own ~= string.sub(ARGV[1], 17) then
  if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[3]) - 15000 then
    return redis.error_reply('OTHERKEY the nodes do not have the same key')
  end
  redis.call('DEL', KEYS[1])
end
-- A write, even to read: a replica, which may lag behind, refuses it.
if redis.call('PEXPIRE', KEYS[1], ARGV[3]) == 0 then
  redis.call('SET', KEYS[1], ARGV[1] .. string.rep('0', 16), 'PX', ARGV[3])
end
local kept = tonumber(ARGV[2])
-- Another process, another line of masters or another log is another life.
local info = redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
local run, line = string.match(info, 'run_id:(%w+)'), string.match(info, 'master_replid:(%w+)')
local life = string.sub(redis.sha1hex(run .. line .. redis.call('GETRANGE', KEYS[1], 0, 31)), 1, 32)
local head = tonumber(redis.call('GETRANGE', KEYS[1], 32, 47))

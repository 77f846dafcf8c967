-- One node settles what it spent of one rate limit. A call that is repeated, late or out of order charges nothing twice.
-- KEYS 1: the bucket. ARGV 1: node, 2: due, all that the node ever owed, 3: what of it is owed if the node is unknown
-- here, 4: the most to charge, 5: the level of a bucket that is unknown here, 6: tokens a microsecond, 7: the most that
-- the bucket holds, 8: the most that a node may hold, 9: live nodes, 10: run, another in each process of the node.
-- Answers: tokens that the node may spend until it settles again, the level, and the time in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local node = 'n:' .. ARGV[1]
local stored = redis.call('HMGET', KEYS[1], 'level', 'at', node)
local due, unknown, most, level = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local rate, capacity, credit, nodes = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if stored[1] then
  level = tonumber(stored[1])
  local at = tonumber(stored[2])
  if now > at then level = level + (now - at) * rate end
end
if level > capacity then level = capacity end
local before = due - unknown
if stored[3] then
  local run, its_due = string.match(stored[3], '^(%d+) (%d+)$')
  if run == ARGV[10] then before = tonumber(its_due) end
end
if due > before then
  local charge = due - before
  if charge > most then charge = most end
  level = level - charge
  before = due
end
local grant = 0
if level >= 1 then
  grant = math.floor(level / nodes)
  if grant > credit then grant = credit end
  if grant < 1 then grant = 1 end
end
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level), 'at', string.format('%.0f', now), node,
  ARGV[10] .. string.format(' %.0f', before))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((capacity - level) / rate / 1000) + 60000))
return {grant, string.format('%.17g', level), string.format('%.0f', now)}

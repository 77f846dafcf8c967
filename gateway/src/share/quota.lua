-- One node settles its count of one quota in one period. The counts add up; each node writes its own only.
-- KEYS 1: the period of the quota. ARGV 1: node, 2: run, greater in each process of the node, 3: number of the call in
-- this run, 4: what earlier runs counted, -1 if the node does not know, 5: what this run counted, 6: what it may still
-- spend, 7: the most to lease, 8: the quota, 9: live nodes, 10: the most that it ever heard all nodes counted, 11: how
-- long a lease is believed (microseconds), 12: how long the period is remembered (milliseconds).
-- Answers: 1, or 0 if the call is out of date; what earlier runs counted; the count of all nodes; what the node may
-- spend until it settles again; the node's newest run; the time in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local run, call, base, since = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local left, credit, quota, nodes = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local known, life = tonumber(ARGV[10]), tonumber(ARGV[11])
local others, leased = 0, 0
local own_count, own_run, own_call, own_base = 0, 0, 0, 0
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local count, lease, its_run, its_call, its_base, at =
    string.match(stored[i + 1], '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  count, lease = tonumber(count), tonumber(lease)
  if stored[i] == ARGV[1] then
    own_count, own_run, own_call, own_base = count, tonumber(its_run), tonumber(its_call), tonumber(its_base)
  else
    others = others + count
    if now - tonumber(at) < life then leased = leased + lease end
  end
end
if run < own_run or (run == own_run and call <= own_call) then
  return {0, own_base, others + own_count, 0, own_run, string.format('%.0f', now)}
end
if run > own_run then own_base = own_count end
if base > own_base then own_base = base end
local count = own_base + since
if count < own_count then count = own_count end
local total = others + count
if total < known then total = known end
local room = quota - total - leased
local lease = math.floor((quota - total) / nodes)
if lease > credit then lease = credit end
if lease < 1 then lease = 1 end
if lease > room then lease = room end
if lease < left then lease = left end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f %.0f %.0f %.0f %.0f', count, lease, run, call, own_base, now))
redis.call('PEXPIRE', KEYS[1], ARGV[12])
return {1, own_base, total, lease, run, string.format('%.0f', now)}

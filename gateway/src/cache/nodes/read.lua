-- Reads on. ARGV 4: the number up to which purges are known, 5: in whose log.
-- Answers: whose log it is, how many purges there were, the number of the first that is not known, and from it on what the log still
-- has, oldest first; all that another log has.
local known = life == ARGV[5] and tonumber(ARGV[4]) or 0
known = math.max(known, head - kept)
local function records(from, count)
  if count < 1 then return '' end
  return redis.call('GETRANGE', KEYS[1], 48 + from * 18, 48 + (from + count) * 18 - 1)
end
local count, from = head - known, known % kept
local before_end = math.min(count, kept - from)
return {life, head, known + 1, records(from, before_end) .. records(0, count - before_end)}

-- Adds a purge, and tells it on a channel. ARGV 4: the purge, 5: the channel, or nothing.
-- Answers: its number.
redis.call('SETRANGE', KEYS[1], 48 + head % kept * 18, ARGV[4])
head = head + 1
redis.call('SETRANGE', KEYS[1], 32, string.format('%016.0f', head))
if ARGV[5] ~= '' then
  -- The log has it: that it may not be told is no failure.
  redis.pcall('PUBLISH', ARGV[5], life .. ARGV[4] .. string.format('%.0f', head))
end
return head

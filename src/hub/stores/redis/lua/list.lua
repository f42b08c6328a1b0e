-- KEYS: a list of recent tasks: a sorted set whose members all have the score 0, so that they sort by themselves.
-- ARGV: entries that a list has at most; how long it is to live at least, in milliseconds; how many entries are added,
-- how many are removed, and those entries.
local list, length, lifetime, added = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
for n = 5, #ARGV do
  if n < 5 + added then
    redis.call('ZADD', list, 0, ARGV[n])
  else
    redis.call('ZREM', list, ARGV[n])
  end
end
redis.call('ZREMRANGEBYRANK', list, 0, -length - 1)
if added > 0 and redis.call('PTTL', list) < lifetime then
  redis.call('PEXPIRE', list, ARGV[2])
end
return 1

-- ARGV: for each report: id, token, health or '' to remove the instance, number of events, the events.
-- Answers 1 for each report that counts, else 0.
local answers, at = {}, 1
while at <= #ARGV do
  local id, token, health, events = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local entry = entry_of(id)
  local counts = entry and lease_of(redis.call('HGET', leases, id)) == token
  if counts then
    if health == '' then
      depart(id, entry)
    else
      redis.call('HSET', healths, id, health)
      mark(id)
    end
    for event = at + 4, at + 3 + events do
      record(ARGV[event])
    end
  end
  table.insert(answers, counts and 1 or 0)
  at = at + 4 + events
end
return answers

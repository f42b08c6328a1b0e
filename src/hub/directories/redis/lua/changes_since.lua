-- ARGV: the revision of which the later changes are asked for, and the registry whose leases are left out, or ''.
-- Answers the present revision, 1 if what follows are all instances, then for each: id, revision of the change if it is
-- known, entry or false if it is gone, lease or false, health or false.
local after, present = tonumber(ARGV[1]), tonumber(redis.call('GET', revision) or '0')
local complete = after == 0 or after > present
local answer = {whole(present), complete and 1 or 0}

local function add(id, number)
  local _, owner = lease_of(redis.call('HGET', leases, id))
  if not owner or owner ~= ARGV[2] or redis.call('HEXISTS', instances, id) == 0 then
    describe(answer, id, number)
  end
end

if complete then
  for _, id in ipairs(redis.call('HKEYS', instances)) do
    add(id, '0')
  end
else
  local changed = redis.call('ZRANGEBYSCORE', changes, '(' .. whole(after), '+inf', 'WITHSCORES')
  for at = 1, #changed, 2 do
    add(changed[at], changed[at + 1])
  end
end
return answer

-- ARGV: registry, milliseconds that it stays alive, then the ids of the instances that it claims.
-- Answers id and token of the lease of each of them that is known.
local registry, ttl = ARGV[1], tonumber(ARGV[2])
redis.call('ZADD', registries, whole(now_ms() + ttl), registry)
local answer = {}
for at = 3, #ARGV do
  local id = ARGV[at]
  if redis.call('HEXISTS', instances, id) == 1 then
    local token, owner = lease_of(redis.call('HGET', leases, id))
    if owner ~= registry then
      token = take_lease(id, registry)
    end
    table.insert(answer, id)
    table.insert(answer, token)
  end
end
return answer

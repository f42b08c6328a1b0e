-- ARGV: registry, milliseconds that it stays alive, '1' to stand by.
-- Answers the number of registries alive, then id and token of each lease that it holds.
local registry, ttl, standby = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', registries, '-inf', whole(now))
if standby then
  redis.call('ZREM', registries, registry)
  standby = redis.call('ZCARD', registries) > 0
end
if not standby then
  redis.call('ZADD', registries, whole(now + ttl), registry)
end

local held, alive = {}, redis.call('ZRANGE', registries, 0, -1)
for _, name in ipairs(alive) do
  held[name] = {}
end
table.sort(alive)

local tokens, free = {}, {}
local ids = redis.call('HKEYS', instances)
table.sort(ids)
local texts = {}
local pairs_of = redis.call('HGETALL', leases)
for at = 1, #pairs_of, 2 do
  texts[pairs_of[at]] = pairs_of[at + 1]
end
for _, id in ipairs(ids) do
  local token, owner = lease_of(texts[id])
  if owner == registry then
    if standby then
      redis.call('HDEL', leases, id)
      mark(id)
    else
      tokens[id] = token
      table.insert(held[registry], id)
    end
  elseif owner and held[owner] then
    table.insert(held[owner], id)
  else
    table.insert(free, id)
  end
end
if standby then
  return {#alive}
end

local mine = #held[registry]
local function take(id)
  tokens[id] = take_lease(id, registry)
  mine = mine + 1
end

local share = math.ceil(#ids / #alive)
for _, id in ipairs(free) do
  if mine >= share then
    break
  end
  take(id)
end

while mine < math.floor(#ids / #alive) do
  local richest
  for _, name in ipairs(alive) do
    if name ~= registry and (not richest or #held[name] > #held[richest]) then
      richest = name
    end
  end
  if not richest or #held[richest] <= mine + 1 then
    break
  end
  take(table.remove(held[richest]))
end

local answer = {#alive}
for id, token in pairs(tokens) do
  table.insert(answer, id)
  table.insert(answer, token)
end
return answer

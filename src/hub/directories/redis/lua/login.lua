-- ARGV: id, entry, model, fingerprint, contract, hash of the secret that was shown, the limits as they stand in
-- `LoginLimits` (all 0: none), then the fingerprints that may hold the name at the same time.
-- Answers false when the instance is in, else the fingerprint that holds the name, 'undecodable entry',
-- 'foreign instance', or 'full ' and the limit that is reached.
local id, entry, model, fingerprint, contract, proof = unpack(ARGV, 1, 6)
local max_models, max_instances, max_peers = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local max_contracts, max_bytes = tonumber(ARGV[10]), tonumber(ARGV[11])
local before, unreadable = entry_of(id)
if unreadable then
  return 'undecodable entry'
end
local secret = before and before.secret_hash
if type(secret) == 'string' and secret ~= '' and secret ~= proof then
  return 'foreign instance'
end
local compatible = { [fingerprint] = true }
for index = 12, #ARGV do
  compatible[ARGV[index]] = true
end
for holder, count in pairs(holders_of(model)) do
  local own = before and before.model == model and before.fingerprint == holder
  if not compatible[holder] and count > (own and 1 or 0) then
    return holder
  end
end

complete_contracts()
local key = model .. ' ' .. fingerprint
local is_new = redis.call('HEXISTS', contracts, key) == 0
local size = #contract
if max_models > 0 then
  local peers, same = 0, before and before.model == model
  for _, count in pairs(holders_of(model)) do
    peers = peers + count
  end
  if same then
    peers = peers - 1
  end
  local models, all = redis.call('HLEN', names), redis.call('HLEN', instances)
  if before then
    all = all - 1
    local left = 0
    for _, count in pairs(holders_of(before.model)) do
      left = left + count
    end
    if left == 1 then
      models = models - 1
    end
  end
  if peers == 0 and models >= max_models then
    return 'full max_models'
  elseif all >= max_instances then
    return 'full max_instances'
  elseif peers >= max_peers then
    return 'full max_model_instances'
  end
  if is_new then
    local count, bytes = redis.call('HLEN', contracts) + 1, tonumber(redis.call('GET', weight)) + size
    if count > max_contracts or bytes > max_bytes then
      for _, other in ipairs(unused_since('+inf', count)) do
        if count <= max_contracts and bytes <= max_bytes then
          break
        end
        count, bytes = count - 1, bytes - redis.call('HSTRLEN', contracts, other)
        drop_contract(other)
      end
    end
    if count > max_contracts then
      return 'full max_contracts'
    elseif bytes > max_bytes then
      return 'full max_contract_bytes'
    end
  end
end
if before then
  remove(id, before)
end
redis.call('HSET', instances, id, entry)
count_holder(model, fingerprint, 1)
if is_new then
  redis.call('HSET', contracts, key, contract)
  redis.call('INCRBY', weight, size)
end
touch(key)
return false

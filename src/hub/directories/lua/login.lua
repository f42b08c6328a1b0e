-- ARGV: id, entry, model, fingerprint, contract, then the fingerprints that may hold the name at the same time.
-- Answers false when the instance is in, else the fingerprint that holds the name, or 'undecodable entry'.
local id, entry, model, fingerprint, contract = unpack(ARGV)
local before, unreadable = entry_of(id)
if unreadable then
  return 'undecodable entry'
end
local beside = { [fingerprint] = true }
for index = 6, #ARGV do
  beside[ARGV[index]] = true
end
for holder, count in pairs(holders_of(model)) do
  local own = before and before.model == model and before.fingerprint == holder
  if not beside[holder] and count > (own and 1 or 0) then
    return holder
  end
end
if before then
  remove(id, before)
end
redis.call('HSET', instances, id, entry)
count_holder(model, fingerprint, 1)
redis.call('HSETNX', contracts, model .. ' ' .. fingerprint, contract)
return false

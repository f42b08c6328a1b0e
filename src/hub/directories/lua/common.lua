-- Shared by both scripts: they are loaded as one text after this one.

local instances, names, contracts = KEYS[1], KEYS[2], KEYS[3]

-- The entry of an instance, or nil; second result: whether it cannot be read.
local function entry_of(id)
  local text = redis.call('HGET', instances, id)
  if not text then
    return nil, false
  end
  local ok, entry = pcall(cjson.decode, text)
  if not ok or type(entry) ~= 'table' or type(entry.model) ~= 'string' then
    return nil, true
  end
  return entry, false
end

-- The fingerprint that holds the name of a model, and how many instances do so.
local function holder_of(model)
  local fingerprint, count = string.match(redis.call('HGET', names, model) or '', '^(%S+) (%d+)$')
  return fingerprint, tonumber(count) or 0
end

-- Takes an instance out; the last one frees the name of its model.
local function remove(id, entry)
  redis.call('HDEL', instances, id)
  local fingerprint, count = holder_of(entry.model)
  if count > 1 then
    redis.call('HSET', names, entry.model, fingerprint .. ' ' .. (count - 1))
  else
    redis.call('HDEL', names, entry.model)
  end
end

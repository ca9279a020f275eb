# docker build -t passband .   then   docker run --rm -v "$PWD:/data" passband segment au-300kv image.dm4
FROM python:3.12-slim
COPY . /source
RUN pip install --no-cache-dir -c /source/constraints.txt '/source[app]' && rm -r /source
WORKDIR /data
ENTRYPOINT ["passband"]
